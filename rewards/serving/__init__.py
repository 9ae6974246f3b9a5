"""A reward behind HTTP, for trainers that are not this project's: `app` answers, `batching` puts requests together."""
