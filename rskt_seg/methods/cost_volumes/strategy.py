"""The inference strategy of models that decode a limited number of classes."""

from dataclasses import dataclass

from rskt_seg.inference.strategies import WholeImageStrategy


@dataclass(frozen=True)
class LimitedClassesStrategy(WholeImageStrategy):
    """As `WholeImageStrategy`; says when more names are asked for than the model decodes."""

    @property
    def notices(self) -> tuple[str, ...]:
        """See `Strategy.notices`."""
        asked, limit = len(self.prompts), self.model.spec.class_limit
        if not 0 < limit < asked:
            return super().notices
        unseen = (
            f"of {asked} names the model decodes the {limit} that are nearest to each image or window, as "
            "published; the others get a score of 0 there (class_limit=0 decodes all)"
        )
        return (*super().notices, unseen)
