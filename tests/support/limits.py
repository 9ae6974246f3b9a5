"""The one limit on time of all tests: a test that hangs ends, a test on a busy machine does not."""

LIMIT = 1800  # seconds
