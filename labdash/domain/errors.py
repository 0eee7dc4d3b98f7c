"""What a user can get wrong."""


class LabDashError(Exception):
    """A request that cannot be carried out. Its message is shown to the user as it is."""
