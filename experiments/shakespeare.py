"""shakespeare: jaxchar's own default, the best model that a few minutes on two cores can train.

Tiny Shakespeare in all its 65 symbols, as contiguous streams with the state carried along. What it
owes its loss to, each measured (see experiments/README.md): Muon for the recurrent kernel, a high
learning rate for everything else, a GRU rather than an LSTM of equal cost, and the average of the
weights rather than the last ones.
"""

from jaxchar.config import Config
from jaxchar.train import main

CONFIG = Config(
    corpus="auto",  # tiny Shakespeare; without a network, the interpreter's own documentation
    val_fraction=0.1,
    batching="streams",
    batch_size=32,
    seq_len=64,
    cell="gru",
    hidden_size=304,
    optimizer="muon",
    muon_learning_rate=0.03,
    learning_rate=0.025,
    beta2=0.99,
    clip_norm=1.0,
    schedule="linear",
    warmup_steps=30,
    ema_decay=0.998,
    epochs=3,
    eval_every=250,
    checkpoint_every=250,
    sample_every=250,
    sample_length=200,
    sample_temperatures=(0.8,),
    sample_from="prompt",
)

if __name__ == "__main__":
    main(CONFIG, "shakespeare")
