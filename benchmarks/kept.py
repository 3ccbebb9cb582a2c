"""What autograd keeps for the backward pass, counted as it comes and goes."""

import torch


class Kept:
    """Bytes that autograd keeps for backward, parameters left out: now, and at most."""

    def __init__(self, network):
        self.own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
        self.users, self.now, self.most = {}, 0, 0

    def hooks(self):
        return torch.autograd.graph.saved_tensors_hooks(lambda tensor: _Held(self, tensor), lambda held: held.tensor)


class _Held:
    def __init__(self, kept, tensor):
        self.kept, self.tensor = kept, tensor
        storage = tensor.untyped_storage()
        self.place, self.bytes = storage._cdata, storage.nbytes() * (storage._cdata not in kept.own)
        kept.users[self.place] = kept.users.get(self.place, 0) + 1
        if kept.users[self.place] == 1:
            kept.now += self.bytes
            kept.most = max(kept.most, kept.now)

    def __del__(self):
        self.kept.users[self.place] -= 1
        if not self.kept.users[self.place]:
            self.kept.now -= self.bytes
