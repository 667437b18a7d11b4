"""char_rnn: A. Karpathy's char-rnn (Torch), with its defaults.

Two LSTM layers of 128 units; 50 contiguous streams read in parallel, 50 characters a step, the state
carried along; RMSprop at 2e-3, times 0.97 after every epoch from the 10th on.
"""

from jaxchar.config import Config
from jaxchar.train import main

CONFIG = Config(
    corpus="shakespeare",
    val_fraction=0.1,  # the original: 0.05; a tenth makes the figure comparable with others'
    batching="streams",
    batch_size=50,
    seq_len=50,
    cell="lstm",
    hidden_size=128,
    num_layers=2,
    kernel_init="uniform",
    recurrent_init="same",
    init_scale=0.08,
    forget_bias=1.0,
    optimizer="rmsprop",
    learning_rate=2e-3,
    rms_decay=0.95,
    clip_value=5.0,
    schedule="exponential",
    decay_rate=0.97,
    decay_after=10,
    epochs=50,
    sample_length=300,
    sample_from="prompt",
)

if __name__ == "__main__":
    main(CONFIG, "char_rnn")
