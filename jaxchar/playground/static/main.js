/** The playground's page: its head, its five views, and the models that they look at. */

import { onAddress } from "./address.js";
import { CellsView } from "./cells.js";
import { LearningView } from "./learning.js";
import { LiveView } from "./live.js";
import { Models } from "./models.js";
import { ReadView } from "./read.js";
import { Tabs } from "./tabs.js";
import { WriteView } from "./write.js";

const byId = (id) => document.getElementById(id);

async function start() {
  const models = new Models(byId("model"), byId("step"), byId("about"));
  const views = [WriteView, ReadView, CellsView, LearningView, LiveView].map((View) => new View(models));
  const tabs = new Tabs(byId("tabs"), byId("views"), views);
  try {
    await models.load();
  } catch (error) {
    byId("failed").textContent = error.message;
    byId("failed").hidden = false;
    return;
  }
  if (!models.all.length) {
    byId("failed").textContent =
      "There is no model to look at. Train one (`jaxchar train TEXT`), then start `jaxchar play` again.";
    byId("failed").hidden = false;
    return;
  }
  onAddress(() => models.fromAddress());
  tabs.fromAddress();
  document.documentElement.dataset.ready = "true";
}

start();
