"use strict";
(() => {
  const data = JSON.parse(document.getElementById("plot-data").textContent);
  const box = document.getElementById("plot");
  const tip = document.getElementById("tip");
  const targets = [...new Set(data.variants.map((variant) => variant.target))];
  const SVG = "http://www.w3.org/2000/svg";
  const FONT = 13;

  const make = (name, attributes, parent, text) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  };

  // A shape per precision, so that colour is never needed to tell points apart.
  const outline = (precision, r) => {
    if (precision === "int8") return `M0,${-1.3 * r}L${1.3 * r},0L0,${1.3 * r}L${-1.3 * r},0Z`;
    if (precision === "fp16") return `M${-r},${-r}H${r}V${r}H${-r}Z`;
    if (precision === "bf16") return `M0,${-1.25 * r}L${1.2 * r},${r}H${-1.2 * r}Z`;
    return `M${-r},0A${r},${r} 0 1 1 ${r},0A${r},${r} 0 1 1 ${-r},0Z`;
  };

  // Round numbers for a linear axis with about `count` steps.
  const linearTicks = (low, high, count) => {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
    const ticks = [];
    for (let index = Math.ceil(low / step); index * step <= high * (1 + 1e-12); index += 1) {
      ticks.push(index * step);
    }
    return { ticks, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
  };

  const logTicks = (low, high) => {
    const wide = Math.log10(high / low) > 1.6;
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
      for (const factor of wide ? [1, 3] : [1, 1.5, 2, 3, 4, 5, 7]) {
        const value = factor * 10 ** power;
        if (value >= low && value <= high) ticks.push(value);
      }
    }
    return ticks;
  };

  const number = (value) => String(Number(value.toPrecision(3)));

  const show = (point, x, y) => {
    const { variant, latency } = point;
    const rows = [
      ["p50", latency.text.p50], ["95 % interval", latency.interval],
      ["p95", latency.text.p95], ["p99", latency.text.p99], ...variant.facts,
    ];
    tip.replaceChildren();
    const name = document.createElement("strong");
    name.textContent = variant.name;
    const list = document.createElement("dl");
    for (const [key, value] of rows) {
      const term = document.createElement("dt");
      const detail = document.createElement("dd");
      term.textContent = key;
      detail.textContent = value;
      list.append(term, detail);
    }
    tip.append(name, list);
    tip.hidden = false;
    const right = x + 18 + tip.offsetWidth <= box.clientWidth;
    const left = right ? x + 18 : Math.max(0, x - 18 - tip.offsetWidth);
    const top = Math.min(Math.max(0, y - 40), Math.max(0, box.clientHeight - tip.offsetHeight));
    const narrow = !right && x - 18 - tip.offsetWidth < 0;  // a phone: below the point instead
    tip.style.left = `${narrow ? Math.max(0, (box.clientWidth - tip.offsetWidth) / 2) : left}px`;
    tip.style.top = `${narrow ? y + 18 : top}px`;
  };

  const describe = ({ variant, latency }) =>
    `${variant.name}: p50 ${latency.text.p50}, p95 ${latency.text.p95}, p99 ${latency.text.p99}, ` +
    variant.facts.map(([key, value]) => `${key} ${value}`).join(", ");

  // The first place beside its point where a label hits nothing that is already there.
  const placeLabel = (label, point, taken, near, frame) => {
    const width = label.getComputedTextLength();
    const places = [  // above first: the frontier leaves a point below and to its right
      [0, -14, "middle"], [8, -14, "start"], [-8, -14, "end"], [0, 24, "middle"],
      [12, 20, "start"], [-12, 20, "end"], [13, 4.5, "start"], [-13, 4.5, "end"],
    ];
    for (const [dx, dy, anchor] of places) {
      const start = { start: 0, middle: -width / 2, end: -width }[anchor] + point.x + dx;
      const spot = [start, point.y + dy - FONT, start + width, point.y + dy + 4];
      const inside = spot[0] >= frame[0] && spot[2] <= frame[2] && spot[1] >= frame[1] && spot[3] <= frame[3];
      const free = [...taken, ...near].every((o) => spot[2] < o[0] || spot[0] > o[2] || spot[3] < o[1] || spot[1] > o[3]);
      if (inside && free) {
        taken.push(spot);
        label.setAttribute("x", point.x + dx);
        label.setAttribute("y", point.y + dy);
        label.setAttribute("text-anchor", anchor);
        return;
      }
    }
    label.remove();  // the point still tells its name when it is touched
  };

  const draw = () => {
    const chosen = document.querySelector("input[name=shape]:checked");
    const shape = data.shapes.find((one) => one.label === chosen.value);
    const { scale, unit, name: quality } = data.quality;
    box.querySelector("svg, .none")?.remove();
    tip.hidden = true;
    const points = data.variants
      .filter((variant) => variant.quality !== null && variant.latency[shape.label])
      .map((variant) => ({ variant, latency: variant.latency[shape.label] }));
    if (points.length === 0) {
      const none = document.createElement("p");
      none.className = "none";
      none.textContent = `No variant was both scored and timed at ${shape.label}.`;
      box.prepend(none);
      return;
    }

    const width = box.clientWidth;
    const height = Math.round(Math.min(470, Math.max(330, width * 0.5)));
    const frame = { left: 58, right: width - 14, top: 26, bottom: height - 46 };
    const values = points.map((point) => point.variant.quality * scale);
    if (data.floor !== null) values.push(data.floor * scale);
    // Differences smaller than the noise of a small file must not fill the page.
    const least = scale === 100 ? 1 : 0.01;
    const middle = (Math.max(...values) + Math.min(...values)) / 2;
    const half = Math.max(least, (Math.max(...values) - Math.min(...values)) * 1.3) / 2;
    const bounds = [middle - half, middle + half];
    const bound = data.bound !== null && data.bound.shape === shape.label ? data.bound : null;
    const fastest = points.map((point) => point.latency.low);
    const low = Math.min(...fastest, bound === null ? Infinity : bound.p95) / 1.25;
    const slowest = points.map((point) => Math.max(point.latency.high, point.latency.p95));
    const high = Math.max(...slowest, bound === null ? 0 : bound.p95) * 1.3;
    const x = (value) => frame.left + (Math.log(value / low) / Math.log(high / low)) * (frame.right - frame.left);
    const y = (value) => frame.bottom - ((value - bounds[0]) / (bounds[1] - bounds[0])) * (frame.bottom - frame.top);

    const svg = make("svg", {
      viewBox: `0 0 ${width} ${height}`, height, role: "group",
      "aria-label": `${quality} against median latency at ${shape.label}. ${points.length} variants; ` +
        `on the frontier: ${shape.frontier.join(", ")}. All figures are in the table below.`,
    });
    const { ticks, digits } = linearTicks(bounds[0], bounds[1], 5);
    const scenery = make("g", { "aria-hidden": "true" }, svg);
    for (const value of ticks) {
      make("line", { class: "grid", x1: frame.left, x2: frame.right, y1: y(value), y2: y(value) }, scenery);
      make("text", { class: "tick", x: frame.left - 9, y: y(value) + 4.5, "text-anchor": "end" }, scenery, value.toFixed(digits));
    }
    let edge = -Infinity;
    for (const value of logTicks(low, high)) {
      make("line", { class: "grid", x1: x(value), x2: x(value), y1: frame.top, y2: frame.bottom }, scenery);
      if (x(value) - edge > 34) {
        make("text", { class: "tick", x: x(value), y: frame.bottom + 19, "text-anchor": "middle" }, scenery, number(value));
        edge = x(value);
      }
    }
    make("text", { class: "axis", x: frame.right, y: height - 6, "text-anchor": "end" }, scenery, `median latency at ${shape.label}, ms (log) · left is faster`);
    make("text", { class: "axis", x: 0, y: 12 }, scenery, `${width < 560 && quality.length > 34 ? "agreement" : quality}${unit ? `, ${unit}` : ""} · up is better`);
    if (data.floor !== null) {
      const at = y(data.floor * scale);
      make("line", { class: "floor", x1: frame.left, x2: frame.right, y1: at, y2: at }, scenery);
      make("text", { class: "floor-text", x: frame.right, y: at - 6, "text-anchor": "end" }, scenery, "least that counts as the same answers");
    }

    if (bound !== null) {
      const at = x(bound.p95);
      make("line", { class: "floor", x1: at, x2: at, y1: frame.top, y2: frame.bottom }, scenery);
      const left = at > (frame.left + frame.right) / 2;
      make("text", { class: "floor-text", x: at + (left ? -6 : 6), y: frame.bottom - 8, "text-anchor": left ? "end" : "start" }, scenery, bound.text);
    }

    for (const point of points) {
      point.x = x(point.latency.p50);
      point.y = y(point.variant.quality * scale);
    }
    const best = shape.frontier.map((name) => points.find((point) => point.variant.name === name));
    const steps = best.map((point, index) => (index ? `H${point.x}V${point.y}` : `M${point.x},${frame.bottom}V${point.y}`));
    make("path", { class: "frontier", d: `${steps.join("")}H${frame.right}` }, scenery);

    const labels = [];
    for (const point of points) {
      const { variant, latency } = point;
      const below = data.floor !== null && !variant.keeps;
      const group = make("g", {
        class: `point t${targets.indexOf(variant.target) % 5}${below ? " below" : ""}`,
        tabindex: 0, role: "img", "aria-label": describe(point), "data-variant": variant.name,
      }, svg);
      make("line", { class: "whisker", x1: x(latency.low), x2: x(latency.high), y1: point.y, y2: point.y }, group);
      const end = x(latency.p95);
      make("path", { class: "tail", d: `M${point.x},${point.y}H${end}M${end},${point.y - 5}V${point.y + 5}` }, group);
      make("circle", { class: "halo", cx: point.x, cy: point.y, r: 15 }, group);
      make("path", { class: "mark", d: outline(variant.precision, 7), transform: `translate(${point.x},${point.y})` }, group);
      labels.push(make("text", { class: "label" }, group, variant.name));
      const open = () => show(point, point.x, point.y);
      group.addEventListener("pointerenter", open);
      group.addEventListener("focus", open);
      group.addEventListener("click", open);
      group.addEventListener("pointerleave", () => { if (document.activeElement !== group) tip.hidden = true; });
      group.addEventListener("blur", () => { tip.hidden = true; });
      group.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
    }
    box.prepend(svg);
    const taken = points.map((point) => [point.x - 9, point.y - 9, point.x + 9, point.y + 9]);
    const within = [frame.left, frame.top - 8, frame.right + 10, frame.bottom + 2];
    labels.forEach((label, index) => {
      // A name must not stand over another point, which would seem to be its own.
      const others = points.filter((_, other) => other !== index);
      const near = others.map((point) => [point.x - 9, point.y - 24, point.x + 9, point.y + 18]);
      placeLabel(label, points[index], taken, near, within);
    });
  };

  for (const input of document.querySelectorAll("input[name=shape]")) input.addEventListener("change", draw);
  let drawn = 0;
  new ResizeObserver(() => {
    if (box.clientWidth !== drawn) {
      drawn = box.clientWidth;
      draw();
    }
  }).observe(box);

  const table = document.querySelector("table.figures");
  const body = table.tBodies[0];
  const status = document.getElementById("sorted");
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => row.cells[column].dataset.value;
  heads.forEach((head, column) => {
    head.firstElementChild.addEventListener("click", () => {
      const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...body.rows].sort((one, other) => {
        const [a, b] = [value(one, column), value(other, column)];
        if (a === "" || b === "") return (a === "") - (b === "");  // what is missing stays last
        if (column === 0) return sign * a.localeCompare(b);
        return sign * (Number(a) - Number(b));
      });
      body.append(...rows);
      status.textContent = `Sorted by ${head.textContent.trim()}, ${order}.`;
    });
  });
})();
