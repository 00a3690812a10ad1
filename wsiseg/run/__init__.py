"""One slide through one bundle: plan it, run it, continue it, check it."""

from wsiseg.run.inspect import RunState, State, inspect_run, verify_run
from wsiseg.run.pipeline import Outcome, run_slide
from wsiseg.run.plan import RunPlan, plan_run, slide_of
from wsiseg.run.settings import RunSettings

__all__ = [
    "Outcome",
    "RunPlan",
    "RunSettings",
    "RunState",
    "State",
    "inspect_run",
    "plan_run",
    "run_slide",
    "slide_of",
    "verify_run",
]
