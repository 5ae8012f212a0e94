"""The tests; a real package, so that no `tests` of another distribution is imported in its place."""
