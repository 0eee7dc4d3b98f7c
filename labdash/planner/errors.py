"""What the planner refuses."""

# Names inside come from files: a line for people, whatever those hold.
LONGEST = 400


class PlannerError(ValueError):
    """Input that no estimate can be made of. The text is one short line for the user."""

    def __init__(self, text: str) -> None:
        """Take out of the text what does not print, and cut it where it is too long."""
        line = "".join(letter if letter.isprintable() else "?" for letter in text)
        super().__init__(line if len(line) <= LONGEST else f"{line[:LONGEST]}...")
