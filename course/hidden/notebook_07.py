"""Group emergence."""

import torch


class effective_groups:
    def one(answer, draw):
        """one image"""
        return answer(torch.rand(1, 6, 20, generator=draw))

    def batch(answer, draw):
        """several images are counted together"""
        return answer(torch.rand(5, 4, 3, generator=draw))

    def empty(answer, draw):
        """groups that own nothing do no harm"""
        shares = torch.rand(2, 6, 9, generator=draw)
        shares[:, torch.randint(6, (4,), generator=draw)] = 0
        return answer(shares)
