"""From files to batches: characters become ids, and ids become what a training step reads."""
