"""Our own fused kernels on a processor: the graph becomes a program of operations over ragged rows.

``README.md`` beside this file states what each operation computes. Products are integer where the
plan says so; queries, keys and values are in bfloat16 in INT8, which AMX and AVX512-BF16 multiply
at once and other processors as exactly. The residual stream and norms stay in float32.
"""
