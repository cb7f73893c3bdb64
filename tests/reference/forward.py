#!/usr/bin/env python3
"""The network of docs/architecture.md in numpy, written from the formulas and
not from model/*.c: an independent value for tests/test_model.c
(the_forward_pass_agrees_with_an_independent_one).

    pip install numpy && python3 tests/reference/forward.py

prints, for each case of that test, cross-entropy, sum of lse^2, balance and
router sum of lse^2, as sums over the batch.  Weights and tokens are functions
of their index, so that both programs can make them.
"""
import numpy as np

D, L, K, GROUP, F, E, TOPK, V, T, B = 8, 2, 2, 2, 16, 3, 2, 96, 6, 2
H = D // K
G = H // GROUP
EPS = 1e-5


def weights(tensor, shape):
    n = int(np.prod(shape))
    i = np.arange(n)
    return (0.4 * np.sin(0.7 * i + 1.3 * tensor)).reshape(shape)


def gain(tensor, n):
    return 1 + 0.3 * np.cos(0.9 * np.arange(n) + tensor)


def rmsnorm(x, g):
    return g * x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def rope(x):  # (B, T, heads, K), halves convention
    angle = np.arange(T)[:, None] * 10000.0 ** (-2 * np.arange(K // 2) / K)
    c, s = np.cos(angle)[None, :, None], np.sin(angle)[None, :, None]
    a, b = x[..., : K // 2], x[..., K // 2:]
    return np.concatenate([a * c - b * s, b * c + a * s], -1)


def lse(x):
    m = x.max(-1, keepdims=True)
    return (m + np.log(np.exp(x - m).sum(-1, keepdims=True)))[..., 0]


def run(scale, attn_cap, router_cap, renorm, tied, emb, router_f, readout,
        hidden_f=1.0, residual=1.0, extras=False):
    i = np.arange(B * T)
    tokens, targets = (7 * i + 3) % V, (5 * i + 1) % V
    n = 0

    def take(*shape):
        nonlocal n
        n += 1
        return weights(n - 1, shape)

    def take_gain(size=D):
        nonlocal n
        n += 1
        return gain(n - 1, size)

    def expert(x, gate, up, down):
        a = gelu(hidden_f * (gate @ x)) * (hidden_f * (up @ x))
        return hidden_f * (down @ a)

    embed = take(V, D)
    x = emb * embed[tokens]
    balance = router_z = 0.0
    for _ in range(L):
        g_in, q, k, v = take_gain(), take(D, D), take(G * K, D), take(G * K, D)
        g_q, g_k = (take_gain(K), take_gain(K)) if extras else (None, None)
        o, g_out, g_moe_in = take(D, D), take_gain(), take_gain()
        router, gate, up = take(E, D), take(E, F, D), take(E, F, D)
        down = take(E, D, F)
        shared = (take(F, D), take(F, D), take(D, F)) if extras else None
        g_moe_out = take_gain()

        h = rmsnorm(x, g_in).reshape(B, T, D)
        qs = hidden_f * (h @ q.T).reshape(B, T, H, K)
        ks = hidden_f * (h @ k.T).reshape(B, T, G, K)
        if extras:
            qs, ks = rmsnorm(qs, g_q), rmsnorm(ks, g_k)
        qs, ks = rope(qs), rope(ks)
        vs = hidden_f * (h @ v.T).reshape(B, T, G, K)
        out = np.zeros((B, T, H, K))
        for head in range(H):
            s = scale * np.einsum("btk,bsk->bts", qs[:, :, head],
                                  ks[:, :, head // GROUP])
            if attn_cap:
                s = attn_cap * np.tanh(s / attn_cap)
            s = np.where(np.tril(np.ones((T, T)))[None] > 0, s, -np.inf)
            p = np.exp(s - lse(s)[..., None])
            out[:, :, head] = p @ vs[:, :, head // GROUP]
        branch = hidden_f * (out.reshape(B * T, D) @ o.T)
        x = x + residual * rmsnorm(branch, g_out)

        h = rmsnorm(x, g_moe_in)
        logits = router_f * (h @ router.T)
        if router_cap:
            logits = router_cap * np.tanh(logits / router_cap)
        z = lse(logits)
        probs = np.exp(logits - z[:, None])
        router_z += (z * z).sum()
        y = np.zeros((B * T, D))
        count = np.zeros((B, E))
        for t in range(B * T):
            chosen = np.argsort(-probs[t], kind="stable")[:TOPK]
            g = probs[t, chosen]
            if renorm:
                g = g / g.sum()
            for j, e in enumerate(chosen):
                count[t // T, e] += 1
                y[t] += g[j] * expert(h[t], gate[e], up[e], down[e])
            if extras:
                y[t] += expert(h[t], *shared)
        mean = probs.reshape(B, T, E).mean(1)
        balance += (E * (count / (T * TOPK) * mean).sum(-1)).sum()
        x = x + residual * rmsnorm(y, g_moe_out)
    h = rmsnorm(x, take_gain())
    unembed = embed if tied else take(V, D)
    logits = readout * (h @ unembed.T)
    z = lse(logits)
    ce = (z - logits[np.arange(B * T), targets]).sum()
    print("    { %.15g, %.15g, %.15g, %.15g }," % (ce, (z * z).sum(), balance,
                                                  router_z))


# base width 4, base head size 2, width 8: m = 2; emb_mult 2
run(2 ** -0.5, 2.0, 3.0, False, False, 2.0, 0.5, 0.5)  # muP
run(2 ** -0.5, 0.0, 0.0, True, True, 2.0, 1.0, 1.0)    # SP, renorm, tied
# u-muP and CompleteP from 1 layer to 2, QK-norm, a shared expert
run(2 ** -0.5, 2.0, 3.0, False, False, 2.0, 0.5, 0.5, 2 ** -0.5, 0.5, True)
