"""How good the answers are, from what people said of some of them. Pure; design and sources: docs/design/quality.md."""
