(() => {
  const figures = JSON.parse(document.getElementById("wb-figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const inks = () => ({ "font.color": getComputedStyle(document.body).color });
  const places = Array.from(document.querySelectorAll(".wb-figure"));
  for (const place of places) {
    const figure = figures[Number(place.dataset.figure)];
    const options = { responsive: true, displaylogo: false, displayModeBar: false };
    Plotly.newPlot(place, figure.data, figure.layout, options).then(() => Plotly.relayout(place, inks()));
  }
  dark.addEventListener("change", () => places.forEach((place) => Plotly.relayout(place, inks())));
})();
