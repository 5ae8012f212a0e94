"""The classifier: pictures of snippets in, decisions out. Knows CLIP and its prompts; no camera, database or video."""
