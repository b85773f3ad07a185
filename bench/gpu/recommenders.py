"""Embedding tables and recommenders beside PyTorch."""

import shapes
from models import flags
from section import close, in_turns


def recommender(section):
    for goal, part, tolerance, text in (("embedding", "embedding", 1e-3, "torch.optim.Adagrad is elementwise, ours row-wise"),
                                        ("dlrm", "step", 1e-2, "one EmbeddingBag over all tables, row-wise AdaGrad, the rest compiled")):
        section.raised(goal, lambda: compare_recommenders(section, goal, part, tolerance, text))


def compare_recommenders(section, goal, part, tolerance, text):
    options, config = section.options, shapes.recommender(section.options, part)
    folder = section.work / part
    folder.mkdir()
    program = section.program("recommender_bench")
    section.run([program, "prepare", folder, *flags(config)])
    tune = ["--tune"] if part == "step" else []

    def start(safe):
        trainee = section.ours([program, part, folder, *tune, *safe, *flags(config)])
        try:
            return trainee, trainee.say("check 1")["losses"][0]
        except BaseException:
            close([trainee])
            raise

    ours, loss = section.safely(start)
    trainees = [ours]
    try:
        command = shapes.torch_recommender(options, part, folder)
        peer = section.raised(f"PyTorch's {part}", lambda: section.torch("PyTorch", command)) if section.has_torch else None
        if peer:
            trainees.append(peer)
            found = peer.say(1)["losses"][0]
            distance = abs(loss - found) / abs(found)
            if not distance <= tolerance:
                raise RuntimeError(f"the losses of the first step are {distance:.1e} apart: no rate is worth printing")
            text += f"; losses {distance:.1e} apart"
        in_turns(trainees, section.rounds, 2 if options.rehearse else 5)
    finally:
        close(trainees)
    speeds = [f"{config['batch'] / trainee.seconds():.4g} examples/s, {1e3 * trainee.seconds():.4g} ms" for trainee in trainees]
    if len(trainees) == 1:
        section.row(f"{part}, ours alone", speeds[0])
    else:
        section.row(goal, trainees[1].seconds() / trainees[0].seconds(), ours=speeds[0], theirs=speeds[1], note=text)
