"""The page on which one sees a model write, and what its units see: ``jaxchar play``."""
