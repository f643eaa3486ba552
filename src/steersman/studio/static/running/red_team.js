// Goals, one in each line, and the terms of the model that answers, as the API has them.

import { valuesOf } from "./page.js";

const goals = document.querySelector("#red-team form");
if (goals) {
  goals.collect = () => {
    const said = valuesOf(goals);
    return { ...said, goals: said.goals.split("\n").map((one) => one.trim()).filter(Boolean) };
  };
}

const responder = document.getElementById("responder-form");
if (responder) responder.collect = () => ({ responder: valuesOf(responder) });
