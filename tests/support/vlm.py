"""A tiny policy that reads images too, and its processor: a LLaVA around the tiny Qwen2 and a CLIP of one layer."""

from datasets import Dataset
from datasets import Image as ImageFeature
from datasets.features.image import encode_pil_image
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    ProcessorMixin,
)

import tiny


IMAGE_SIZE, PATCH_SIZE = 8, 4

_CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}<image>{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}"
)


def processor() -> ProcessorMixin:
    """The tiny tokenizer, with a token for images."""
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    square = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return LlavaProcessor(
        CLIPImageProcessorPil(size=square, crop_size=square),
        tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,  # CLIP's class token
        image_token="<image>",
        chat_template=_CHAT_TEMPLATE,
    )


def policy(frozen_vision: bool = False, **text_config) -> LlavaForConditionalGeneration:
    """A LLaVA with random weights; `text_config` changes the shape of its language model."""
    tokens = processor().tokenizer
    text = tiny.policy(**text_config).config
    text.vocab_size = len(tokens)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        projection_dim=16,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=text.tie_word_embeddings,
    )
    model = LlavaForConditionalGeneration(config)
    if frozen_vision:
        model.model.vision_tower.requires_grad_(False)
        model.model.multi_modal_projector.requires_grad_(False)
    return model


def questions_with_images() -> Dataset:
    """The tiny questions, each about an image of one colour."""
    images = [Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), (8 * i, 0, 0)) for i in range(32)]
    return (
        tiny.questions(32)
        .add_column("image", list(map(encode_pil_image, images)))
        .cast_column("image", ImageFeature())
    )
