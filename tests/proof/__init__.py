"""The proof: commands that try the promise on more streams than a test can, and print what they found.

    python -m tests.proof.cuts         every byte of every recorded stream, six kinds of damage, every way of recovery
    python -m tests.proof.answers      second answers of every kind, against a model that shares nothing with the guard
    python -m tests.proof.planted_answers  errors in the rules of a second answer, which the proof above has to find
    python -m tests.proof.planted      errors in the package, one at a time, which its tests have to find
    python -m tests.proof.fuzz         bytes that no server sends
    python -m tests.proof.outages      a million streams in simulated time, through six kinds of bad weather
    python -m tests.proof.soak         thousands of real connections on loopback
    python -m tests.proof.items        JSON by chance, and the items that the SDK and plans make of it

Each prints its figures, its seed and the time it took, exits with 1 on any exception to the law, and has a `--quick`
slice, which `tests/proof/test_*.py` runs with the suite.
"""
