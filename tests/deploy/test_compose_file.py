"""What docker-compose.yml, Dockerfile and .dockerignore promise, read from the files themselves."""

import re

import pytest

from tests.deploy import compose
from tests.live_stack import ROOT
from worker.drain import LAST_WORDS_S
from worker.settings import Settings

OURS = ("migrate", "web", "worker", "beat", "flower", "sandbox")


@pytest.fixture
def services(secrets_given: dict[str, str]) -> dict[str, dict]:
    return compose.services(secrets_given)


@pytest.mark.parametrize(
    "name",
    [
        "POSTGRES_PASSWORD",
        "VALKEY_PASSWORD",
        "FLOWER_PASSWORD",
        "TRUETICK_API_KEYS",
        "TRUETICK_SECRET_KEY",
        "WASENDER_API_KEY",
    ],
)
def test_a_secret_that_is_not_set_stops_everything_and_is_named(secrets_given: dict[str, str], name: str) -> None:
    with pytest.raises(compose.Missing, match=f"Set {name}"):
        compose.services({**secrets_given, name: ""})


def test_every_setting_of_the_program_can_be_set_from_outside(services: dict[str, dict]) -> None:
    names = {field.validation_alias for field in Settings.model_fields.values()} - {"TRUETICK_VAR_DIR"}

    for service in ("migrate", "web", "worker", "beat", "flower"):
        assert names <= set(services[service]["environment"])


def test_postgres_18_keeps_its_data_on_a_volume_where_its_image_looks_for_it(services: dict[str, dict]) -> None:
    assert services["postgres"]["image"].startswith("postgres:18")
    assert services["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]


def test_the_broker_writes_every_change_down_and_drops_nothing(services: dict[str, dict]) -> None:
    command = services["valkey"]["command"]

    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert services["valkey"]["volumes"] == ["valkey:/data"]


@pytest.mark.parametrize("name", OURS)
def test_our_containers_may_do_as_little_as_possible(services: dict[str, dict], name: str) -> None:
    service = services[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
    assert name == "migrate" or service["healthcheck"]


def test_nothing_is_published_beyond_this_host(services: dict[str, dict]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert all(services[name]["networks"] == ["data"] for name in ("postgres", "valkey"))
    assert compose.raw()["networks"]["data"] == {"internal": True}


def test_nobody_works_before_the_database_is_migrated(services: dict[str, dict]) -> None:
    for name in ("web", "worker", "beat", "flower"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_a_worker_is_given_the_time_to_hear_wasender_out(
    services: dict[str, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = Settings.model_fields
    longest_s = fields["gateway_connect_timeout_s"].default + fields["gateway_read_timeout_s"].default + LAST_WORDS_S

    assert int(services["worker"]["stop_grace_period"].removesuffix("s")) > longest_s


def test_the_sandbox_runs_only_when_asked_for(services: dict[str, dict]) -> None:
    assert [name for name, service in services.items() if service.get("profiles")] == ["sandbox"]


def test_the_image_is_built_from_locked_libraries_and_runs_as_nobody_special() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()

    assert "--no-deps --require-hashes -r requirements.lock" in dockerfile
    assert "pip install --no-deps /wheels" in dockerfile
    assert dockerfile.index("USER truetick") < dockerfile.index("CMD")


def test_the_image_gets_what_it_copies_and_nothing_else() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    wanted = {name for line in copied for name in line.split()}
    lines = (ROOT / ".dockerignore").read_text().splitlines()

    assert "*" in lines
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == wanted
