"use strict";
(() => {
  const tip = document.getElementById("tip");
  const tips = JSON.parse(document.getElementById("tips").textContent);

  function show(text, x, y) {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = x + 16 + box.width > innerWidth - 8 ? x - 16 - box.width : x + 16;
    const top = y + 16 + box.height > innerHeight - 8 ? y - 16 - box.height : y + 16;
    tip.style.left = `${Math.max(8, Math.min(left, innerWidth - box.width - 8))}px`;
    tip.style.top = `${Math.max(8, top)}px`;
  }
  const hide = () => { tip.hidden = true; };

  document.addEventListener("pointermove", (event) => {
    const marked = event.target.closest?.("[data-tip]");
    if (marked) show(marked.dataset.tip, event.clientX, event.clientY);
    else if (!event.target.closest?.(".scatter")) hide();
  });
  addEventListener("scroll", hide, { passive: true });

  const plots = [...document.querySelectorAll(".scatter")].map((svg) => ({
    svg,
    cursor: svg.querySelector(".cursor"),
    points: [...svg.querySelectorAll("use[data-i]")].map((mark) => ({
      mark, index: Number(mark.dataset.i), x: mark.x.baseVal.value, y: mark.y.baseVal.value,
    })),
  }));
  // the same candidate is marked in every chart
  function point(index) {
    for (const plot of plots) {
      const found = plot.points.find((candidate) => candidate.index === index);
      plot.cursor.style.visibility = found ? "visible" : "hidden";
      if (found) { plot.cursor.setAttribute("cx", found.x); plot.cursor.setAttribute("cy", found.y); }
    }
  }
  for (const plot of plots) {
    const near = (event) => {
      const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.svg.getScreenCTM().inverse());
      let best = null;
      let distance = 26 * 26;
      for (const candidate of plot.points) {
        const away = (candidate.x - place.x) ** 2 + (candidate.y - place.y) ** 2;
        if (away <= distance && getComputedStyle(candidate.mark).display !== "none") { best = candidate; distance = away; }
      }
      point(best ? best.index : -1);
      if (best) show(tips[best.index], event.clientX, event.clientY);
      else hide();
    };
    plot.svg.addEventListener("pointermove", near);
    plot.svg.addEventListener("pointerdown", near);
    plot.svg.addEventListener("pointerleave", () => { point(-1); hide(); });
  }
  for (const button of document.querySelectorAll("button[data-style]")) {
    button.addEventListener("click", () => {
      const hidden = document.querySelector(".plots").classList.toggle(`hide-${button.dataset.style}`);
      button.setAttribute("aria-pressed", String(!hidden));
    });
  }
})();
