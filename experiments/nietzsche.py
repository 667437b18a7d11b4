"""nietzsche: Keras's lstm_text_generation example, still the first character model of many.

The whole of Nietzsche's text, lower-cased: 57 symbols; 200,285 windows of 40 characters, 3 apart,
shuffled every epoch, each predicting the one character after it. After every epoch, text at four
temperatures (the example calls them diversities), going on from a random place of the corpus.
"""

from jaxchar.config import Config
from jaxchar.train import main

CONFIG = Config(
    corpus="nietzsche",
    lowercase=True,
    val_fraction=0.0,  # the example holds nothing out
    batching="windows",
    seq_len=40,
    stride=3,
    shuffle=True,
    batch_size=128,
    return_sequences=False,
    cell="lstm",
    hidden_size=128,
    gate="hard_sigmoid",  # Keras 1's LSTM
    optimizer="rmsprop",
    learning_rate=1e-2,
    rms_decay=0.9,
    epochs=60,  # the example: at least 20 before it sounds coherent
    log_every=100,
    sample_length=400,
    sample_temperatures=(0.2, 0.5, 1.0, 1.2),
    sample_from="corpus",
)

if __name__ == "__main__":
    main(CONFIG, "nietzsche")
