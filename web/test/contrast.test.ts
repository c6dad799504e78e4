// What is drawn on a canvas is out of sight of axe: its colours, also those of what is frozen, against their panel.
import { expect, test } from "vitest";
import tokens from "../src/css/tokens.css?raw";
import { OPACITY } from "../src/model/shown.js";

type Colour = readonly number[];
const READABLE = 3;
const INKS = ["text", "muted", "faint", "bid", "ask"];

/** The tokens of a selector, and what it says differently from others before it. */
function palette(...selectors: string[]): ReadonlyMap<string, Colour> {
  const blocks = selectors.map((selector) => tokens.slice(tokens.indexOf(`${selector} {`)).split("}", 1)[0]!);
  const found = blocks.flatMap((block) => [...block.matchAll(/--(\w+): #(\w{6});/g)]);
  return new Map(found.map(([, name, hex]) => [name!, [0, 2, 4].map((at) => Number.parseInt(hex!.slice(at, at + 2), 16) / 255)]));
}

const [dark, light, blind] = [":root", ':root[data-theme="light"]', ':root[data-colours="blind"]'];
const PALETTES = {
  dark: palette(dark),
  light: palette(light),
  "dark, blue and orange": palette(dark, blind),
  "light, blue and orange": palette(light, ':root[data-theme="light"][data-colours="blind"]'),
};

function luminance(colour: Colour): number {
  const [red, green, blue] = colour.map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!;
}

function contrast(one: Colour, other: Colour): number {
  const [less, more] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (more! + 0.05) / (less! + 0.05);
}

test.each(Object.entries(PALETTES))("%s", (_name, colours) => {
  const panel = colours.get("panel")!;
  for (const [kind, opacity] of Object.entries(OPACITY)) {
    for (const name of INKS) {
      const seen = colours.get(name)!.map((part, at) => part * opacity + panel[at]! * (1 - opacity));
      expect(contrast(seen, panel), `${name}, ${kind}`).toBeGreaterThanOrEqual(READABLE);
    }
  }
});
