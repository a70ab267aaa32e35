"""Weights in INT8: number formats, GPTQ, bias correction and the word embedding table."""
