import { useContext } from "react";
import { Link } from "react-router-dom";

import { api, type Run } from "../api";
import { Waiting, useLoaded } from "../loading";
import { StatusBadge, Took, isUnderWay } from "../parts";
import { LanguageContext, useTexts } from "../texts";

const MS_PER_S = 1000;
const isMoving = (runs: Run[]) => runs.some(isUnderWay);

export function Runs() {
  const texts = useTexts();
  const language = useContext(LanguageContext);
  const { data: runs, hasFailed } = useLoaded(api.runs, isMoving);
  const time = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });

  return (
    <>
      <div className="head">
        <h1>{texts.runs}</h1>
      </div>
      {!runs ? (
        <Waiting hasFailed={hasFailed} />
      ) : runs.length === 0 ? (
        <p className="empty">{texts.noRuns}</p>
      ) : (
        <table className="card">
          <thead>
            <tr>
              <th scope="col">{texts.pipeline}</th>
              <th scope="col">{texts.state}</th>
              <th scope="col">{texts.startedBy}</th>
              <th scope="col">{texts.when}</th>
              <th scope="col">{texts.took}</th>
            </tr>
          </thead>
          <tbody>
            {runs.map((run) => (
              <tr key={run.id}>
                <th scope="row">
                  <Link to={`/runs/${run.id}`}>{run.pipeline}</Link> <span className="soft">#{run.id}</span>
                </th>
                <td data-label={texts.state}>
                  <StatusBadge run={run} />
                </td>
                <td data-label={texts.startedBy}>{texts.triggers[run.triggered_by]}</td>
                <td data-label={texts.when}>{time.format(run.created_at * MS_PER_S)}</td>
                <td data-label={texts.took}>
                  <Took run={run} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </>
  );
}
