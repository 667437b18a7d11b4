"""words_generator: W.-Y. Wang's "Words Generator with LSTM on Keras" (2017, Keras 1.2).

Tiny Shakespeare in 36 symbols; windows of 16 characters, one after the other, each predicting the one
character after it; an LSTM of 128 units with Keras 1's hard sigmoid. 89,124 parameters.
"""

from string import ascii_lowercase

from jaxchar.config import Config
from jaxchar.train import main

CONFIG = Config(
    corpus="shakespeare",
    lowercase=True,
    keep=ascii_lowercase + ",.?! \n:;-'",  # letters and ten more; everything else becomes a space
    val_fraction=0.82,  # the original trains on the first 200,000 windows; this is the rest of the text
    batching="windows",
    seq_len=16,
    stride=1,
    max_windows=200_000,
    batch_size=32,  # the post writes 2^5, which Python reads as 7
    return_sequences=False,
    cell="lstm",
    hidden_size=128,
    gate="hard_sigmoid",
    kernel_init="glorot_uniform",
    recurrent_init="orthogonal",
    forget_bias=1.0,
    optimizer="adam",
    learning_rate=1e-3,
    beta1=0.9,
    beta2=0.999,
    epsilon=1e-8,
    clip_value=1.0,
    epochs=60,
    eval_stride=16,  # every held-out character is read once; scoring all 914,607 windows takes a minute
    keep_checkpoints=0,  # so that --initial-epoch can go on from any epoch
    log_every=250,
    sample_length=200,
    sample_temperatures=(1.0,),
)

if __name__ == "__main__":
    main(CONFIG, "words_generator")
