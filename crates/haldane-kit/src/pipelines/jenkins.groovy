// Delivers @SERVICE@: built, tested, scanned, measured and rolled out step by step.
//
// `make test`, `make scan` and `make bench` are your own. Agents need docker, haldane and jq. The rollout runs on the agent: the
// Prometheus that @MANIFEST@ names must be reachable from there, and the credential `kubeconfig` needs the rights of
// `haldane generate manifests @SERVICE@ --deployer`.
pipeline {
    agent any
    options {
        // One rollout after the other.
        disableConcurrentBuilds()
        timeout(time: 2, unit: 'HOURS')
    }
    environment {
        IMAGE = "@REPOSITORY@:${env.GIT_COMMIT}"
        HALDANE_ACTOR = "jenkins/${env.BUILD_TAG}"
    }
    stages {
        stage('Build') {
            steps {
                sh '''
                    docker build -t "$IMAGE" .
                    docker push "$IMAGE"
                '''
            }
        }
        stage('Test') {
            steps {
                sh '''
                    make test
                    haldane lint -f @MANIFEST@ -o json
                    haldane plan show -f @MANIFEST@ @SERVICE@
                '''
            }
        }
        stage('Scan') {
            steps {
                sh 'make scan IMAGE="$IMAGE"'
            }
        }
        stage('Benchmark') {
            steps {
                sh '''
                    make bench IMAGE="$IMAGE"
                    haldane simulate --canary 5% --rps 100 --traffic-steps 5,25,50,100 --step-duration 5 --auto-promote -o json
                '''
            }
        }
        stage('Deploy') {
            steps {
                withCredentials([file(credentialsId: 'kubeconfig', variable: 'KUBECONFIG')]) {
                    // 0 promoted, 3 rolled back, 1 failed: all but the first fail the stage.
                    sh '''
                        haldane deploy @SERVICE@ "$IMAGE" -n @NAMESPACE@ -f @MANIFEST@ --reason "$BUILD_URL" -o json > haldane-deploy.json
                    '''
                }
            }
        }
        stage('Verify') {
            steps {
                withCredentials([file(credentialsId: 'kubeconfig', variable: 'KUBECONFIG')]) {
                    sh '''
                        haldane status @SERVICE@ -n @NAMESPACE@ -o json > haldane-status.json
                        jq -e --arg version "${IMAGE##*:}" '.stable.version == $version' haldane-status.json
                    '''
                }
            }
        }
    }
    post {
        aborted {
            withCredentials([file(credentialsId: 'kubeconfig', variable: 'KUBECONFIG')]) {
                // Nobody judges a rollout that was left: all traffic goes back to stable.
                sh '''
                    haldane abort @SERVICE@ -n @NAMESPACE@ --reason 'the build was aborted' -o json
                '''
            }
        }
        always {
            archiveArtifacts artifacts: 'haldane-*.json', allowEmptyArchive: true
        }
    }
}
