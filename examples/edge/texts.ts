/**
 * What is searched where a request brings no texts of its own.
 *
 * @module
 */

/** A few sentences of the kind that the model was trained on, none of which it has seen. */
export const ownTexts: readonly string[] = [
  "And the shepherd counted his sheep, and one of them was lost.",
  "The king sat upon his throne, and judged the people.",
  "Thou shalt not steal, neither shalt thou bear false witness.",
  "And there was a great storm upon the sea, and the ship was broken.",
  "And the sons of Levi were Gershon, Kohath, and Merari.",
  "Praise the name of the Lord, all ye his servants.",
];
