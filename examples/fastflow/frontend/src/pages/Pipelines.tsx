import { useState } from "react";
import { Link, useNavigate } from "react-router-dom";

import { api, type Pipeline, type User } from "../api";
import { Waiting, useLoaded } from "../loading";
import { ProgressBar, StatusBadge, isUnderWay } from "../parts";
import { useTexts } from "../texts";

const INTERVALS_MINUTES = [5, 15, 60, 360, 1440];
const isMoving = (pipelines: Pipeline[]) => pipelines.some((one) => one.latest_run && isUnderWay(one.latest_run));

export function Pipelines({ user }: { user: User }) {
  const texts = useTexts();
  const { data: pipelines, hasFailed, reload } = useLoaded(api.pipelines, isMoving);
  const isAdmin = user.role === "admin";

  return (
    <>
      <div className="head">
        <h1>{texts.pipelines}</h1>
        {isAdmin && <SyncButton onSynced={reload} />}
      </div>
      {!pipelines ? (
        <Waiting hasFailed={hasFailed} />
      ) : pipelines.length === 0 ? (
        <p className="empty">{texts.noPipelines}</p>
      ) : (
        <ul className="cards">
          {pipelines.map((pipeline) => (
            <PipelineCard key={pipeline.name} pipeline={pipeline} isAdmin={isAdmin} onChanged={reload} />
          ))}
        </ul>
      )}
    </>
  );
}

interface CardProps {
  pipeline: Pipeline;
  isAdmin: boolean;
  onChanged: () => Promise<void>;
}

function PipelineCard({ pipeline, isAdmin, onChanged }: CardProps) {
  const texts = useTexts();
  const navigate = useNavigate();
  const { name, latest_run: latest, every_minutes: every } = pipeline;

  async function run() {
    const { id } = await api.start(name);
    await navigate(`/runs/${id}`);
  }

  return (
    <li className="card pipeline">
      <div className="row spread">
        <h2>{name}</h2>
        <button type="button" className="button primary" aria-label={texts.runPipeline(name)} onClick={() => void run()}>
          {texts.run}
        </button>
      </div>
      <p className="facts">
        {pipeline.has_requirements && <span className="badge">{texts.needsPackages}</span>}
        {!isAdmin && <span className="soft">{every === null ? texts.never : texts.every(every)}</span>}
        {isAdmin && (
          <select
            aria-label={texts.schedule(name)}
            value={every ?? ""}
            onChange={(event) => {
              const minutes = event.target.value === "" ? null : Number(event.target.value);
              void api.schedule(name, minutes).then(onChanged);
            }}
          >
            <option value="">{texts.never}</option>
            {INTERVALS_MINUTES.map((minutes) => (
              <option key={minutes} value={minutes}>
                {texts.every(minutes)}
              </option>
            ))}
          </select>
        )}
      </p>
      <p className="latest">
        {latest ? (
          <>
            <span className="soft">{texts.latest}</span> <Link to={`/runs/${latest.id}`}>{texts.runNumber(latest.id)}</Link> <StatusBadge run={latest} />
          </>
        ) : (
          <span className="soft">{texts.neverRun}</span>
        )}
      </p>
      {latest && <ProgressBar run={latest} />}
    </li>
  );
}

function SyncButton({ onSynced }: { onSynced: () => Promise<void> }) {
  const texts = useTexts();
  const [isSyncing, setSyncing] = useState(false);
  const [told, setTold] = useState("");

  async function sync() {
    setSyncing(true);
    setTold("");
    try {
      const { pipelines } = await api.sync();
      setTold(texts.synced(pipelines));
      await onSynced();
    } catch {
      setTold(texts.syncFailed);
    }
    setSyncing(false);
  }

  return (
    <div className="row">
      <span className="soft" role="status">
        {told}
      </span>
      <button type="button" className="button" disabled={isSyncing} onClick={() => void sync()}>
        {isSyncing ? texts.syncing : texts.sync}
      </button>
    </div>
  );
}
