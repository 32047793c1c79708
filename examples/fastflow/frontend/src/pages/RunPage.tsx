import { useCallback } from "react";
import { Link, useParams } from "react-router-dom";

import { api } from "../api";
import { Waiting, useLoaded } from "../loading";
import { ProgressBar, StatusBadge, Took, isUnderWay } from "../parts";
import { useTexts } from "../texts";

export function RunPage() {
  const texts = useTexts();
  const { id = "" } = useParams();
  const load = useCallback(() => api.run(id), [id]);
  const { data: run, hasFailed, reload } = useLoaded(load, isUnderWay);

  if (!run) return <Waiting hasFailed={hasFailed} />;
  return (
    <>
      <p className="back">
        <Link to="/runs">← {texts.allRuns}</Link>
      </p>
      <div className="head">
        <h1>
          {run.pipeline} <span className="soft">#{run.id}</span>
        </h1>
        {isUnderWay(run) && (
          <button type="button" className="button" onClick={() => void api.cancel(run.id).finally(reload)}>
            {texts.cancel}
          </button>
        )}
      </div>
      <p className="facts" aria-live="polite">
        <StatusBadge run={run} />
        <span className="soft">
          {texts.startedBy} {texts.triggers[run.triggered_by]}
        </span>
        <span className="soft">
          <Took run={run} />
        </span>
      </p>
      <ProgressBar run={run} />
      <section className="card" aria-labelledby="log">
        <h2 id="log">{texts.log}</h2>
        <pre className="log" tabIndex={0}>
          {run.log || texts.noLog}
        </pre>
      </section>
    </>
  );
}
