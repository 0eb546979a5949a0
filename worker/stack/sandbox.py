"""The sandbox in WaSender's place: a channel with a key of its own, so that nothing can leave this machine."""

from worker.settings import Settings
from worker.stack import parts
from worker.stack.child import ChildSpec
from worker.stack.kept_keys import kept_key
from worker.stack.parts import Addresses
from worker.stack.probes import http_answers

#: The variables by which `truetick sandbox` gets what must not stand on a command line.
API_KEY_VARIABLE = "TRUETICK_SANDBOX_API_KEY"
WEBHOOK_SECRET_VARIABLE = "TRUETICK_SANDBOX_WEBHOOK_SECRET"  # noqa: S105 - a name
WEBHOOK_URL_VARIABLE = "TRUETICK_SANDBOX_WEBHOOK_URL"


def sandbox_child(settings: Settings, addresses: Addresses) -> ChildSpec:
    """It keeps its channels in memory only; a restart begins with the same channel and key again."""
    port, web_port = addresses.sandbox_port, addresses.web_port
    return ChildSpec(
        name="sandbox",
        command=parts.sandbox_command(port, str(settings.pace)),
        environment={
            API_KEY_VARIABLE: _api_key(settings),
            WEBHOOK_SECRET_VARIABLE: _webhook_secret(settings),
            WEBHOOK_URL_VARIABLE: f"http://{parts.LOOPBACK}:{web_port}/webhooks/wasender/default",
            "PYTHONPATH": str(parts.SOURCE),
        },
        is_ready=lambda: http_answers(parts.LOOPBACK, port, "/_sandbox/health"),
    )


def sandbox_credentials(settings: Settings, addresses: Addresses) -> dict[str, str]:
    """What makes the other children talk to the sandbox instead of WaSender."""
    from wasender_sandbox.world import DEFAULT_PAT

    return {
        "WASENDER_BASE_URL": f"http://{parts.LOOPBACK}:{addresses.sandbox_port}/api",
        "WASENDER_API_KEY": _api_key(settings),
        "WASENDER_WEBHOOK_SECRET": _webhook_secret(settings),
        "WASENDER_PERSONAL_ACCESS_TOKEN": DEFAULT_PAT,
    }


def _api_key(settings: Settings) -> str:
    return kept_key(settings.var_dir.absolute() / "sandbox-api-key")


def _webhook_secret(settings: Settings) -> str:
    return kept_key(settings.var_dir.absolute() / "sandbox-webhook-secret", size=16)
