"""The hidden tests: a module for each notebook, a class for each blank, a function for each part of its points.

A function draws inputs from a generator and returns what the answer makes of them: numbers, tensors, texts, or lists
of these. It says nothing of right or wrong. The same function is called with the answer of the student and with the
solution of the notebook, in two processes, and the grader compares what comes back. So the code may be public: what
decides is the seed of the generator, which `make grade` alone has. The docstring is what the feedback says.

A function that calls what the blank forbids (`forbid` in the notebook) would be refused like an answer.
"""
