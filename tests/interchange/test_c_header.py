"""A C header: what a program that is compiled with it computes."""

import shutil
import subprocess

import numpy as np
import pytest
from foreign import OURS, SYMBOLS, our_logits, random_ids, random_model

import jaxchar

PROGRAM = """
#include <stdio.h>
#include "m.h"
int main(void) {
    struct jaxchar_state state = {{0}, {0}};
    float logits[JAXCHAR_SYMBOLS];
    int id;
    while (scanf("%d", &id) == 1) {
        jaxchar_read(&state, id, logits);
        for (int k = 0; k < JAXCHAR_SYMBOLS; k++) printf("%.9g ", logits[k]);
    }
    printf("%lu %d", jaxchar_code_points[JAXCHAR_SYMBOLS - 1], JAXCHAR_STEPS);
    return 0;
}
"""

SELDOM = (0, 3, 5)  # of our networks, whose parts the others have, too


@pytest.mark.parametrize(
    "options",
    [
        *(
            pytest.param(each, marks=pytest.mark.slow if number in SELDOM else ())
            for number, each in enumerate(OURS)
        ),
        {"cell": "lstm", "sizes": (6, 7), "batching": "windows", "seq_len": 9},
    ],
)
def test_a_compiled_program_has_our_logits(options, tmp_path):
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    model = random_model(**options)
    jaxchar.save(model, tmp_path / "m.h")
    (tmp_path / "main.c").write_text(PROGRAM)
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([compiler, *strict, "main.c", "-o", "main", "-lm"], cwd=tmp_path, check=True)
    steps = options.get("seq_len", 0)
    text = "".join(SYMBOLS[i] for i in random_ids(steps or 25))
    ids = " ".join(map(str, model.vocabulary.encode(text)))
    done = subprocess.run([tmp_path / "main"], input=ids, capture_output=True, text=True, check=True)
    *numbers, last, window = done.stdout.split()
    found = np.array(numbers, float).reshape(len(text), -1)
    np.testing.assert_allclose(found, our_logits(model, text), atol=1e-5)
    assert (int(last), int(window)) == (ord(model.vocabulary.symbols[-1]), steps)


def test_the_numbers_are_those_of_the_model_to_the_bit(tmp_path):
    model = random_model("rnn", (6,))
    header, *_ = jaxchar.save(model, tmp_path / "m.h")
    listed = header.read_text().split("jaxchar_head_bias[] = {")[1].split("*/")[1].split("}")[0]
    numbers = np.array(
        [float(number.rstrip("f")) for number in listed.replace("\n", " ").split(", ")], np.float32
    )
    assert numbers.tobytes() == np.asarray(model.params["head"]["bias"]).tobytes()
