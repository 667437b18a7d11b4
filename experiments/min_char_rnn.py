"""min_char_rnn: A. Karpathy's minimal character-level RNN, 112 lines of NumPy.

A tanh RNN of 100 units reads the text from left to right, 25 characters at a time, one stream; the
loss is summed over the steps, the state carried on, and reset at the end of the text. Every 100
iterations, 200 characters from the current state. metrics.jsonl has its smoothed loss a character
(times 25: the number that the original prints).
"""

from jaxchar.config import Config
from jaxchar.train import main

CONFIG = Config(
    corpus="shakespeare",
    val_fraction=0.1,  # the original holds nothing out
    batching="streams",
    batch_size=1,
    seq_len=25,
    cell="rnn",
    hidden_size=100,
    kernel_init="normal",
    recurrent_init="same",
    init_scale=0.01,
    optimizer="adagrad",
    learning_rate=0.1,
    epsilon=1e-8,
    clip_value=5.0,
    loss_reduction="sum",
    epochs=1_000,  # the original never stops
    max_steps=100_000,
    log_every=100,
    eval_every=10_000,
    checkpoint_every=10_000,
    sample_every=100,
    sample_length=200,
    sample_temperatures=(1.0,),
    sample_from="training",
)

if __name__ == "__main__":
    main(CONFIG, "min_char_rnn")
