// What lies under the pointer: a line over every panel of a chart, and its values. The page is whole without it.
"use strict";
for (const chart of document.querySelectorAll(".chart")) {
  const body = chart.querySelector(".body");
  const [from, to, zero] = ["from", "to", "zero"].map((key) => Number(chart.dataset[key]));
  const panels = JSON.parse(chart.querySelector("script").textContent);
  const line = body.appendChild(Object.assign(document.createElement("i"), { className: "pointer" }));
  const box = body.appendChild(Object.assign(document.createElement("div"), { className: "values" }));
  const near = (points, at) => {
    let best = null;
    for (const point of points) {
      if (Math.abs(point[0] - at) <= 2.5 && (!best || Math.abs(point[0] - at) < Math.abs(best[0] - at))) best = point;
    }
    return best && best[1];
  };
  const row = (text, name) => {
    const item = document.createElement("div");
    item.className = name;
    item.textContent = text;
    return item;
  };
  body.addEventListener("pointermove", (event) => {
    const area = body.getBoundingClientRect();
    const part = Math.min(1, Math.max(0, (event.clientX - area.left) / area.width));
    const at = from + part * (to - from);
    box.replaceChildren(row(`${at < zero ? "−" : "+"}${Math.abs(at - zero).toFixed(0)} s`, "at"));
    for (const panel of panels) {
      box.append(row(panel.title, "title"));
      for (const one of panel.series) {
        const value = near(one.points, at);
        if (value !== null) box.append(row(`${one.name}  ${Math.round(value * 100) / 100}`, one.color));
      }
    }
    line.style.left = `${part * 100}%`;
    box.style.left = part < 0.5 ? `calc(${part * 100}% + .6rem)` : "auto";
    box.style.right = part < 0.5 ? "auto" : `calc(${(1 - part) * 100}% + .6rem)`;
    box.style.top = `${event.clientY - area.top}px`;
    body.classList.add("pointed");
  });
  body.addEventListener("pointerleave", () => body.classList.remove("pointed"));
}
