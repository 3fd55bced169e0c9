"use strict";
// Draws each figure from the JSON beside it, once it is near the window, and all of them for paper.
(function () {
  const PAPER = 680; // pixels of an A4 page's width between its margins
  const options = {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };
  const waiting = new Map();
  for (const told of document.querySelectorAll("script[data-drawing]")) {
    waiting.set(document.getElementById(told.dataset.drawing), told);
  }
  const places = Array.from(waiting.keys());

  function draw(place) {
    const told = waiting.get(place);
    if (!told) return;
    waiting.delete(place);
    const figure = JSON.parse(told.textContent);
    Plotly.newPlot(place, figure.data, figure.layout, options);
  }

  const seen = new IntersectionObserver(
    (entries) => entries.forEach((entry) => entry.isIntersecting && draw(entry.target)),
    { rootMargin: "1200px" }
  );
  places.forEach((place) => seen.observe(place));

  window.addEventListener("beforeprint", () => {
    places.forEach((place) => {
      draw(place);
      Plotly.relayout(place, { width: PAPER });
    });
  });
  window.addEventListener("afterprint", () => {
    places.forEach((place) => Plotly.relayout(place, { width: null, autosize: true }));
  });
})();
