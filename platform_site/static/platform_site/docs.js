// Shows the API's document. A file of its own, because the page allows no inline script.
"use strict";

const manual = document.getElementById("manual");
SwaggerUIBundle({
  domNode: manual,
  url: manual.dataset.schema,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  persistAuthorization: false,
  presets: [SwaggerUIBundle.presets.apis],
  validatorUrl: null,
});
