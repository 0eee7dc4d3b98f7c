"""What the planner refuses."""


class PlannerError(ValueError):
    """Input that no estimate can be made of. The text is one line for the user."""
