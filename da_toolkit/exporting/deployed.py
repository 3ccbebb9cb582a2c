"""The network as it is handed on: images in, logits of the same size out, and nothing else to get wrong."""

from torch import Tensor, nn

from da_toolkit.models.segmenter import Segmenter


class Deployed(nn.Module):
    """float RGB images [B,3,H,W], 0..1 -> logits float32 [B,C,H,W]; normalisation and enlarging are inside."""

    def __init__(self, network: Segmenter) -> None:
        super().__init__()
        self.network = network.eval()

    def forward(self, images: Tensor) -> Tensor:
        output = self.network(images)
        return output.enlarged(output.logits, images.shape[2:])
