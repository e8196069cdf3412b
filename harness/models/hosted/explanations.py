"""What a user reads when the circuit breaker of a system opens: the cause and the next action."""

from __future__ import annotations

from harness.models.hosted.circuit_breaker import CircuitBreaker
from harness.models.hosted.failures import SystemWideFailure, format_duration
from harness.models.hosted.openai_settings import PARAMETERS, OpenAISettings


def explain_refusal(
    settings: OpenAISettings, breaker: CircuitBreaker, *, server_reached: bool
) -> str:
    """Why no more calls of a system are sent, and what to do about it.

    ``server_reached`` says whether the server has ever responded.
    """
    cause = breaker.no_response if breaker.server_is_gone else breaker.rejection
    assert cause is not None
    server, model, reason = settings.endpoint, settings.model, cause.message.rstrip(" .:")
    count = breaker.answer_count
    stored = f"; {count} answers before that are stored" if count else ""
    if not server_reached:
        return (
            f"{server} gives no answer ({reason}). Is {settings.base_url} the right base_url, and "
            f"is the server running?"
        )
    if breaker.server_is_gone:
        return (
            f"{server} gives no answer any more ({reason}){stored}. Is the server at "
            f"{settings.base_url} still running? Run it again once it is back: it goes on from "
            f"there."
        )
    if isinstance(cause, SystemWideFailure) and cause.retry_after_s is not None:
        return (
            f"{server} takes no call of model '{model}' now ({reason}){stored}. Run it again in "
            f"{format_duration(cause.retry_after_s)}: it goes on from there."
        )
    if isinstance(cause, SystemWideFailure) and cause.parameter is not None:
        advice = _advice_on_parameter(settings, cause.parameter)
        return f"{server} takes no call as it is ({reason}). {advice}"
    if count:
        return (
            f"{server} refuses every call of model '{model}' now ({reason}){stored}. Check the key "
            f"in {settings.api_key_env} and the account, then run it again: it goes on from there."
        )
    if not isinstance(cause, SystemWideFailure):
        return (
            f"{server} rejects every request of model '{model}' ({reason}). Change or drop = "
            f'["…"] the parameter it does not take, or correct the model, wrap or format of the '
            f"system."
        )
    return (
        f"{server} refuses every call of model '{model}' ({reason}). Check the model's name, "
        f"base_url ({settings.base_url}) and the key in {settings.api_key_env}."
    )


def _advice_on_parameter(settings: OpenAISettings, name: str) -> str:
    """What to do about a parameter that the endpoint does not accept (empty: it has no name)."""
    if name in settings.extra_body:
        return f"Take {name} out of extra_body."
    if name.partition(".")[0] == "response_format":
        return 'Ask for answers with format = "python".'
    if name not in PARAMETERS:
        return 'Leave a parameter out with drop = ["NAME"] in the system\'s table.'
    other = " or give max_completion_tokens in its place" if name == "max_tokens" else ""
    names = ", ".join(f'"{dropped}"' for dropped in (*settings.drop, name))
    return f"Leave it out with drop = [{names}] in the system's table{other}."
