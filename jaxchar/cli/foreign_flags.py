"""What options of other tools are called in jaxchar: char-rnn, torch-rnn, Keras, nanoGPT, PyTorch, ..."""

import difflib
from collections.abc import Iterable

# Ours: theirs. Dashes, underscores and capitals are ignored. What does not begin with "--" is shown as it is.
DEVICE = (
    "cuda gpu gpus gpuid gpu-id gpu-backend device num-gpus n-gpu use-cuda use-gpu no-cuda mps tpu opencl"
)
SEED = "random-seed rng-seed torch-seed manual-seed random-state"
FILES = """data data-dir data-path data-file dataset file files filename input input-file input-txt input-h5
    input-json txt text-file train train-file train-data training-file textfile source book novel path"""
RUN = """checkpoint checkpoint-path checkpoint-dir cp model model-path model-dir model-file weights load
    load-model init-from out-dir output-dir save-dir save run-dir run resume model-name-or-path from"""

TRAIN = {
    "--learning-rate": "lr base-lr max-lr initial-lr step-size alpha eta",
    "--hidden-size": """rnn-size hidden hidden-dim hidden-units n-hidden num-hidden nhid units num-units
        n-units size lstm-size gru-size rnn-hidden-size state-size n-embd d-model neurons width""",
    "--num-layers": "n-layer n-layers nlayers layers num-layer rnn-layers depth num-hidden-layers",
    "--cell": "model model-type rnn-type rnn cell-type rnn-cell unit-type type arch architecture lstm gru",
    "--batch-size": """batch bs minibatch minibatch-size per-device-train-batch-size train-batch-size n-seqs
        num-seqs num-streams""",
    "--seq-len": """seq-length sequence-length sequence-len seq maxlen max-len max-length block-size bptt
        bptt-len chunk-len chunk-size context-length context-size context time-steps n-timesteps unroll
        window window-size num-unrollings""",
    "--stride": "step window-step hop",
    "--max-steps": "steps max-iters iters iterations niter n-iters num-iters max-iterations train-steps",
    "--max-steps (steps of training) or --seq-len (steps of a sequence)": "num-steps n-steps",
    "--epochs": "max-epochs num-epochs n-epochs nb-epoch nb-epochs epoch num-train-epochs passes",
    "--minutes": "time time-limit max-time max-minutes duration budget hours seconds",
    "--dropout": "drop dropout-rate dropout-prob drop-rate drop-prob",
    "--dropout (the share that is dropped, not the share that is kept)": "keep-prob output-keep-prob",
    "--input-dropout": "dropout-w",
    "--input-dropout (the share that is dropped, not the share that is kept)": "input-keep-prob",
    "--recurrent-dropout": "dropout-u dropout-h",
    "--clip-value": "clipvalue clip-grad-value grad-clip-value",
    "--clip-norm": "clipnorm clip max-grad-norm max-norm clip-grad-norm gradient-clip-norm global-clipnorm",
    "--clip-value (of each element) or --clip-norm (of all together)": "grad-clip gradient-clip clip-grad",
    "--embedding-size": """wordvec-size embedding embeddings embed embed-size embed-dim embedding-dim emb-size
        emb-dim emsize dim-embeddings""",
    "--val-fraction": "val-frac valid-frac validation-split val-split val-size valid-size dev-fraction",
    "--test-fraction": "test-frac test-split test-size",
    "--val-fraction and --test-fraction (the rest is for training)": "train-frac train-size train-fraction",
    "--run-dir": """save-dir out-dir output-dir checkpoint-dir checkpoint-name savefile save save-path log-dir
        logdir model-dir output out outf exp-dir work-dir name run-name experiment-name run""",
    "--init-from": """init pretrained load load-model load-weights finetune fine-tune start-from warm-start
        model-name-or-path""",
    "--resume": "continue restore resume-from resume-from-checkpoint resume-training",
    "--run-dir RUN --resume (to go on with a run) or --init-from RUN (for a new one)": """checkpoint ckpt
        checkpoint-path""",
    "--eval-every": """eval-val-every eval-interval eval-steps eval-freq val-every val-interval evaluate-every
        validate-every test-every""",
    "--log-every": "print-every log-interval logging-steps print-interval display-every log-freq",
    "--checkpoint-every": """save-every save-interval save-steps save-freq ckpt-every checkpoint-interval
        snapshot-every""",
    "--sample-every": "gen-every gen-epochs generate-every sample-interval",
    "--keep-checkpoints": "save-total-limit max-to-keep keep-last save-best-only",
    "--early-stopping": "patience early-stop early-stopping-patience",
    "--weight-decay": "wd l2 l2-reg regularization",
    "--schedule": "lr-schedule lr-scheduler lr-scheduler-type scheduler lr-policy decay-lr",
    "--decay-rate": "learning-rate-decay lr-decay lr-decay-factor lr-decay-rate gamma decay",
    "--decay-after": "learning-rate-decay-after lr-decay-after",
    "--decay-every": "lr-decay-every",
    "--warmup-steps": "warmup warmup-iters num-warmup-steps lr-warmup",
    "--optimizer": "optim opt solver optimiser",
    "--beta1": "beta-1 adam-beta1",
    "--beta2": "beta-2 adam-beta2",
    "--epsilon": "eps adam-epsilon",
    "--rms-decay": "rho",
    "--ema-decay": "ema polyak",
    "--gate": "inner-activation recurrent-activation",
    "--kernel-init": "initializer kernel-initializer init-method",
    "--init-scale": "init-range initrange init-std",
    "--forget-bias": "forget-gate-bias unit-forget-bias",
    "--lowercase": "lower to-lower uncased",
    "--sample-temperatures": "temperature temperatures temp diversity diversities",
    "--sample-length": "length gen-length max-gen-length sample-size",
    "--sample-prompt": "prompt prime primetext start-text seed-text start",
    "--dtype": "fp16 bf16 amp half mixed-precision",
    "--seed": SEED,
    "an accelerator is used where JAX finds one; --devices N says how many": DEVICE,
    "give the text itself: {train} my_novel.txt": FILES + " text",
    "--logger": "report-to",
    "figures are sent elsewhere with --logger tensorboard or --logger wandb": "wandb wandb-log tensorboard",
    "a recurrent network has no attention heads; leave it out": "n-head n-heads nhead num-heads",
    "a model that writes reads forwards only; leave it out": "bidirectional rnn-bidirectional",
    "everything is compiled anyway; leave it out": "compile",
    "the text lies in memory, nothing loads it; leave it out": "num-workers workers",
}
SAMPLE = {
    "--ckpt": RUN.replace(" weights ", " "),  # which is an option of sample itself
    "--prompt": """prime primetext prime-text prime-str start start-text start-string seed-text prefix
        context text input input-text begin""",
    "--prompt-file": "file prime-file start-file input-file",
    "--length": """n len num-chars n-chars chars max-new-tokens max-tokens max-length maxlen predict-len
        gen-length max-gen-length num-tokens sample-length sample-len words size""",
    "--temperature": "temp t diversity diversities sample-temperatures heat",
    "--greedy": "sample do-sample argmax deterministic",
    "--num-samples": "nsamples n-samples samples count num-return-sequences batch-size batch num",
    "--top-k": "k",
    "--top-p": "p nucleus",
    "--stop": "stop-string stop-token stop-sequence stop-at end until eos eos-token",
    "--which": "best last best-checkpoint",
    "--raw": "no-escape",
    "--seed": SEED,
    "an accelerator is used where JAX finds one; leave it out": DEVICE,
    "there is no such penalty; try --temperature, --top-p or --min-p": "repetition-penalty frequency-penalty",
    "there is no beam search; --greedy is the closest": "num-beams beam beams beam-size",
}
EVALUATE = {
    "--ckpt": RUN,
    "--corpus": FILES + " text",
    "--block": "block-size seq-len seq-length maxlen bptt context-length",
    "--lanes": "batch-size batch eval-batch-size",
    "an accelerator is used where JAX finds one; leave it out": DEVICE,
}
MEMORIZATION = {
    "--ckpt": RUN,
    "--text": "file input input-file text-file generated sample",
    "--corpus": "data data-dir dataset train-file train training-file",
    "--length": SAMPLE["--length"],
    "--temperature": SAMPLE["--temperature"],
    "--seed": SEED,
}
TABLES = {
    "train": TRAIN,
    "sample": SAMPLE,
    "evaluate": EVALUATE,
    "memorization": MEMORIZATION,
    "compare": {
        "--out": "output plot picture png figure plot-file",
        "give the folders of the runs themselves: {compare} runs/*": RUN,
    },
    "inspect": {"--ckpt": RUN},
    "play": {
        "--ckpt": RUN,
        "--host": "bind address ip listen server-name",
        "--no-browser": "headless no-open",
    },
    "report": {
        "--ckpt": RUN,
        "--out": "output html file out-file",
        "--text": "input input-file",
        "--which": "best last best-checkpoint",
    },
    "import": {
        "--vocabulary": "vocab vocab-file dictionary dict charset characters tokenizer alphabet",
        "--run-dir": "out-dir output-dir output out save-dir",
        "--seq-len": "seq-length sequence-length maxlen window window-size context-length time-steps",
    },
    "export": {"--overwrite": "force replace f", "--which": "checkpoint"},
    "bench": {"--out": "output save results", "--peers": "against baselines frameworks"},
}


def advice(typed: str, command: str, ours: Iterable[str], others: Iterable[tuple[str, Iterable[str]]]) -> str:
    """Return one line that says what an unknown option is called in jaxchar.

    Args:
        typed: the option, with its dashes.
        command: the command that it was given to.
        ours: the names of the command's options, without dashes.
        others: the other commands, each with the names of its options; only read if nothing else helps.
    """
    name = _plain(typed)
    same = {_plain(flag): f"--{flag}" for flag in ours}
    theirs = {_plain(word): here for here, words in TABLES[command].items() for word in words.split()}
    if known := same.get(name) or theirs.get(name):
        return _in_words(typed, known)
    for other, flags in others:
        if name in map(_plain, flags):
            return f"there is no {typed} in {command}; it is an option of {other}; see --help-all"
    if near := _nearest(name, {**theirs, **same}):
        return f"there is no {typed}; did you mean {near}? See --help-all"
    return f"there is no {typed}; see --help-all for what there is"


def _in_words(typed: str, known: str) -> str:
    if known.startswith("--"):
        return f"there is no {typed}; jaxchar calls it {known}; see --help-all"
    from jaxchar.terminal.invocation import called_as

    named = {command: called_as(command) for command in ("train", "compare")}
    return f"there is no {typed}; {known.format(**named)}; see --help-all"


def _nearest(name: str, known: dict[str, str]) -> str | None:
    """Return the option that a name was probably meant to be, for a typing error or a short form."""
    begun = {here for word, here in known.items() if len(name) >= 4 and word.startswith(name)}
    options = {word: here for word, here in known.items() if here.startswith("--")}
    if len(begun) == 1 and begun <= set(options.values()):
        return begun.pop()
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.75)
    return options[near[0]] if near else None


def _plain(name: str) -> str:
    """Return a name without the characters that people write differently."""
    return name.lower().replace("-", "").replace("_", "")
