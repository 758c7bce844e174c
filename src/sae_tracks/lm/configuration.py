"""The sizes of a HyenaDNA model."""

from transformers import PreTrainedConfig


class HyenaDNAConfig(PreTrainedConfig):
    """Sizes of a HyenaDNA model; the defaults are those of small-32k.

    Parameters
    ----------
    d_model, d_inner, n_layer : int
        Width, width inside the MLP, number of blocks.
    max_seq_len : int
        Longest sequence in tokens: its filters' positional embedding is stretched over it.
    emb_dim, filter_order, num_inner_mlps, activation_freq : int
        Shape of the implicit filter: positional embedding, hidden width, hidden layers, initial sine frequency.
    short_filter_order : int
        Length of the explicit depthwise filter.
    vocab_size, pad_vocab_size_multiple : int
        12 tokens, padded to 16 rows.
    """

    model_type = "hyenadna"

    def __init__(
        self,
        vocab_size=12,
        d_model=256,
        d_inner=None,
        n_layer=4,
        max_seq_len=32770,
        emb_dim=5,
        filter_order=64,
        num_inner_mlps=2,
        hyena_order=2,
        short_filter_order=3,
        activation_freq=10,
        train_freq=True,
        use_bias=True,
        embed_dropout=0.1,
        hyena_dropout=0.0,
        hyena_filter_dropout=0.0,
        layer_norm_epsilon=1e-5,
        initializer_range=0.02,
        pad_vocab_size_multiple=8,
        pad_token_id=4,
        tie_word_embeddings=False,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.d_model = d_model
        self.d_inner = 4 * d_model if d_inner is None else d_inner
        self.n_layer = n_layer
        self.max_seq_len = max_seq_len
        self.emb_dim = emb_dim
        self.filter_order = filter_order
        self.num_inner_mlps = num_inner_mlps
        self.hyena_order = hyena_order
        self.short_filter_order = short_filter_order
        self.activation_freq = activation_freq
        self.train_freq = train_freq
        self.use_bias = use_bias
        self.embed_dropout = embed_dropout
        self.hyena_dropout = hyena_dropout
        self.hyena_filter_dropout = hyena_filter_dropout
        self.layer_norm_epsilon = layer_norm_epsilon
        self.initializer_range = initializer_range
        self.pad_vocab_size_multiple = pad_vocab_size_multiple
        self.tie_word_embeddings = tie_word_embeddings
        self.pad_token_id = pad_token_id
        super().__init__(**kwargs)

    @property
    def vocab_rows(self) -> int:
        """Rows of the embedding: the vocabulary, padded."""
        return -(-self.vocab_size // self.pad_vocab_size_multiple) * self.pad_vocab_size_multiple

    @property
    def hidden_size(self) -> int:
        """The name under which other tools look for the width."""
        return self.d_model

    @property
    def num_hidden_layers(self) -> int:
        """The name under which other tools look for the number of blocks."""
        return self.n_layer
