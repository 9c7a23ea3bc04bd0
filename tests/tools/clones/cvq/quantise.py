"""A plain CVQ quantizer with the interface of the authors' module, written for tests of tools/parity.py."""

import torch
import torch.nn.functional as F
from torch import nn


class VectorQuantiser(nn.Module):
    """One step: assign, loss, usage, relocation by binding the codebook anew, contrastive term."""

    def __init__(self, num_embed, embed_dim, beta, distance, anchor, first_batch, contras_loss):
        super().__init__()
        self.num_embed, self.embed_dim, self.beta = num_embed, embed_dim, beta
        self.distance, self.anchor, self.first_batch, self.contras_loss = distance, anchor, first_batch, contras_loss
        self.done = False
        self.embedding = nn.Embedding(num_embed, embed_dim)
        nn.init.uniform_(self.embedding.weight, -1 / num_embed, 1 / num_embed)
        self.register_buffer("embed_prob", torch.zeros(num_embed))

    def similarity(self, features):
        codebook = self.embedding.weight
        if self.distance == "cos":
            return F.normalize(features, dim=1) @ F.normalize(codebook, dim=1).T
        return -(features[:, None] - codebook[None]).square().sum(2)

    def forward(self, z):
        rows = z.permute(0, 2, 3, 1)
        features = rows.reshape(-1, self.embed_dim)
        s = self.similarity(features.detach())
        codes = s.argmax(1)
        z_q = self.embedding(codes).view(rows.shape)
        loss = self.beta * ((z_q.detach() - rows) ** 2).mean() + ((z_q - rows.detach()) ** 2).mean()
        out = (rows + (z_q - rows).detach()).permute(0, 3, 1, 2)
        if self.training:
            self.relocate(features.detach(), s.detach(), codes)
            if self.contras_loss:
                ordered = s.sort(dim=0).values
                positive = ordered[-max(1, len(s) // self.num_embed) :].mean(0, keepdim=True)
                logits = torch.cat([positive, ordered[: len(s) // 2]]).T / 0.07
                loss = loss + F.cross_entropy(logits, torch.zeros(self.num_embed, dtype=torch.long))
        return out, loss, (None, None, codes)

    def relocate(self, features, s, codes):
        shares = torch.bincount(codes, minlength=self.num_embed) / len(codes)
        self.embed_prob.mul_(0.99).add_(shares, alpha=0.01)
        if self.done or self.anchor == "none":
            return
        if self.anchor == "closest":
            anchors = features[s.argmax(0)]
        elif self.anchor == "random":
            anchors = features[torch.randint(0, len(features), (self.num_embed,))]
        else:
            anchors = features[torch.multinomial(s.T.softmax(1), 1).flatten()]
        alpha = torch.exp(-10 * self.num_embed * self.embed_prob / 0.01 - 1e-3)[:, None]
        self.embedding.weight.data = (1 - alpha) * self.embedding.weight.data + alpha * anchors
        self.done = self.first_batch
