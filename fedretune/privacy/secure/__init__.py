"""Secure aggregation: a server learns the sum of what sites send, and nothing of one of them.

Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving Machine Learning", in
four exchanges: keys, shares, masked vectors, unmasking. Here are the mathematics and the
cryptography of one sum; what it does not stop is in ``docs/secure-aggregation.md``.
"""
