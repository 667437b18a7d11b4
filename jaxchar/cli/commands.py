"""The commands, by name."""

# Every command is a module of this package that has a main(), see jaxchar.terminal.invocation.module_of.
COMMANDS = {
    "train": "train a model on your text",
    "sample": "write text with a model",
    "evaluate": "score a model on text",
    "memorization": "tell how much of what a model writes is copied",
    "compare": "compare runs: settings, losses, one picture",
    "inspect": "show what is in a checkpoint, and whether it is whole",
    "play": "see a model write, and what its units see, in a browser",
    "report": "write a page on a run: surprise, units, losses",
    "import": "make a run of a model of Keras or PyTorch",
    "export": "write a model for Keras, PyTorch, ONNX, Hugging Face",
    "bench": "measure the speed, beside other libraries",
}
