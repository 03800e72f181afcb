"""What every shipped grammar of documents promises; a test file of one inherits it.

A subclass has `grammar`, and its file a fixture `documents`, a few thousand samples of it.
"""

from math import log
from statistics import mean, stdev


class GrammarPromises:
    grammar = None

    def test_each_has_one_derivation(self, documents):
        for document in documents[::10]:
            parse = self.grammar.parse(document.text)
            assert abs(parse.logprob - document.logprob) < 1e-9
            assert parse.genre == document.genre

    def test_their_mean_surprisal_and_length_are_the_exact_ones(self, documents):
        grammar = self.grammar
        surprisals = [-document.logprob for document in documents]
        lengths = [len(document.text) + len(grammar.separator) for document in documents]
        for found, exact in ((surprisals, grammar.entropy), (lengths, grammar.mean_length)):
            assert abs(mean(found) - exact) < 3.5 * stdev(found) / len(found) ** 0.5

    def test_there_are_more_than_a_billion_of_them(self, documents):
        grammar = self.grammar
        assert grammar.entropy > log(1e9)  # a source of H nats has at least exp(H) texts
        assert grammar.rate == grammar.entropy / grammar.mean_length
        assert len({document.text for document in documents}) == len(documents)
