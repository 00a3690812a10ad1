// A bar of a round length, in micrometres or millimetres.

import { byId } from "./page.js";

const WIDEST_PX = 160;

export function showScale(scale, mpp) {
  const most = (WIDEST_PX / scale) * mpp;
  const power = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].map((step) => step * power).find((value) => value <= most) ?? power;
  byId("scale-bar").style.width = `${(length / mpp) * scale}px`;
  byId("scale-text").textContent = length >= 1000 ? `${length / 1000} mm` : `${Number(length.toPrecision(1))} µm`;
}
