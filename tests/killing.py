class Killed(BaseException):
    """What a training dies of in a test, as if by a signal."""
