"""Models that the benchmarks train, and how programs are told of them."""

GPT2_TEXT = dict(context=1024, vocabulary=50257)
GPT2 = {"124M": dict(layers=12, heads=12, width=768, **GPT2_TEXT), "350M": dict(layers=24, heads=16, width=1024, **GPT2_TEXT),
        "774M": dict(layers=36, heads=20, width=1280, **GPT2_TEXT), "1558M": dict(layers=48, heads=25, width=1600, **GPT2_TEXT)}
CHAR = dict(layers=4, heads=4, width=128, context=64, vocabulary=65)
TINY = dict(layers=2, heads=2, width=32, context=32, vocabulary=65)


def parameters(config):
    """Of a gpt of GPT-2's style, all of them: embeddings, which are the output matrix, too, and positions."""
    width = config["width"]
    return (config["vocabulary"] + config["context"] + config["layers"] * (12 * width + 13) + 2) * width


def flags(config):
    """The configuration as a program of ours takes it; lists with commas."""
    found = []
    for key, value in config.items():
        text = ",".join(str(each) for each in value) if isinstance(value, list) else str(value)
        found += [f"--{key}", text] if text else []
    return found
