"""What `channels show`, `set-pool`, `set-pace`, `set-first-contacts` and `remove` do."""

from sqlalchemy import select

from worker.channels import registry, upkeep
from worker.cli import channel_page, display
from worker.cli.channel_work import answer, named, standings
from worker.cli.workplace import workplace
from worker.database import transaction
from worker.domain.pace import Pace
from worker.models import Channel


def show(name: str, *, as_json: bool) -> None:
    with workplace() as parts:
        with transaction(parts.engine) as connection:
            channel_id = named(parts, connection, name)
            row = connection.execute(select(Channel.__table__).where(Channel.id == channel_id)).one()
        [channel], now = standings(parts, only=name)
    own_key, secret = row.api_key_encrypted is not None, row.webhook_secret_encrypted is not None
    if as_json:
        more = {"session_id": row.gateway_session_id, "has_own_key": own_key, "has_webhook_secret": secret}
        display.print_json(channel.as_json() | more)
        return
    channel_page.show_one(channel, now, session_id=row.gateway_session_id, own_key=own_key, secret=secret)


def set_pool(name: str, *, pool: str | None, as_json: bool) -> None:
    with workplace() as parts:
        with transaction(parts.engine) as connection:
            upkeep.set_pool(connection, named(parts, connection, name), pool)
            others = connection.execute(
                select(Channel.name)
                .where(Channel.pool == pool, Channel.name != name)
                .order_by(Channel.name)
                .limit(20)
            ).scalars()
            beside = ", ".join(others)
        said = f"Channel {name} stands alone." if pool is None else f"Channel {name} is in pool {pool}"
        if pool is not None:
            said += f", with {beside}." if beside else ", so far alone."
        answer(parts, name, said, as_json=as_json)


def set_pace(name: str, *, pace: str, daily_cap: int | None, as_json: bool) -> None:
    paced = Pace.parse(pace)
    with workplace() as parts:
        with transaction(parts.engine) as connection:
            channel_id = named(parts, connection, name)
            upkeep.set_pace(connection, channel_id, paced, daily_cap, now=parts.clock())
        cap = f", and at most {daily_cap} a day" if daily_cap else ""
        answer(parts, name, f"Channel {name} sends {paced}{cap}, within a minute from now.", as_json=as_json)


def set_first_contacts(name: str, *, cap: int | None, as_json: bool) -> None:
    with workplace() as parts:
        with transaction(parts.engine) as connection:
            upkeep.set_first_contacts(connection, named(parts, connection, name), cap)
        most = "as many people as come" if cap is None else f"at most {cap} people a day (UTC)"
        said = f"Channel {name} writes to {most} for the first time. It counts messages that are stored from now on."
        answer(parts, name, said if cap else said.partition(" It counts")[0], as_json=as_json)


def remove(name: str, *, as_json: bool) -> None:
    with workplace() as parts, transaction(parts.engine) as connection:
        upkeep.remove(connection, registry.channel_id(connection, name))
    if as_json:
        display.print_json({"removed": name})
    else:
        display.say(f"Channel {name} was removed.")
