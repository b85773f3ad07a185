"""Parts of recommenders in PyTorch."""

import torch
from torch import nn


def perceptron(widths, last_is_linear):
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*(layers[:-1] if last_is_linear else layers))


class RowwiseAdagrad:
    """One number for each row of a table, over PyTorch's sparse gradients: what kernels/rowwise_adagrad.h defines."""

    def __init__(self, weight, learning_rate=0.01, epsilon=1e-8):
        self.weight, self.learning_rate, self.epsilon = weight, learning_rate, epsilon
        self.sums = torch.zeros(weight.shape[0], device=weight.device)

    @torch.no_grad()
    def step(self):
        gradient = self.weight.grad.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        sums = self.sums[rows] + values.square().mean(1)
        self.sums[rows] = sums
        self.weight.index_add_(0, rows, values / (sums.sqrt() + self.epsilon).unsqueeze(1), alpha=-self.learning_rate)
        self.weight.grad = None
